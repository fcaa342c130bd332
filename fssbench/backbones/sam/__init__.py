"""The whole of SAM: its image encoder, which timm builds, with the parts that turn a click into a mask."""
