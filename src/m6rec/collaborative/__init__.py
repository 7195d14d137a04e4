"""What people chose next, beside what the words of items say: counted, never trained."""
