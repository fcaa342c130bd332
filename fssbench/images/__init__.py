"""Images and masks of unknown origin: opened safely, judged by one set of rules, brought to size."""
