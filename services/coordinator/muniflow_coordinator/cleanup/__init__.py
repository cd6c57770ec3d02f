"""Removes intermediates and unfinished files."""
