"""ISIC 2018 skin lesions."""
