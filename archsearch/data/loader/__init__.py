"""Batches on the device, from memory, from mapped files, or streamed from them."""
