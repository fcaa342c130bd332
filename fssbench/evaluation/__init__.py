"""Evaluation of methods on plans: inputs, isolation, prediction, counting."""
