"""MS COCO."""
