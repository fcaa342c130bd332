"""Backbones that timm builds: vision transformers and others, under short names or under timm's names."""
