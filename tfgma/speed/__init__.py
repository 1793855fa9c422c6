"""What tfgma takes beside what people use today, measured in turn on one machine."""
