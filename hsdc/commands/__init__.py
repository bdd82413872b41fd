"""One file per command, one function `execute`."""
