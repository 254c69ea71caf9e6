"""Changes of whole batches and of whole datasets: augmentation, mixing, colours."""
