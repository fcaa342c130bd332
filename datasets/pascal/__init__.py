"""PASCAL VOC 2012 with the SBD annotations."""
