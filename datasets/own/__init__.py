"""Data sets of a user's own: folders of images and masks that nobody has published."""
