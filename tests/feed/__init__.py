"""Reading the log: readers, exports, subscribers and views."""
