"""The embedded competition of drawn dogs."""
