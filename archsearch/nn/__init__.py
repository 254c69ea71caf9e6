"""The torch side of a network: modules from expressions, weights files, devices, what foreign modules cost."""
