"""The protocol of an explained model, and its adapters."""
