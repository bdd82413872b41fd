"""The torch code that stages share: encoder with heads, losses, samplers, the training loop. No stage lives here."""
