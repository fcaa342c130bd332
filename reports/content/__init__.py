"""What a report says, before it is a page: numbers in words, marks, the published figures."""
