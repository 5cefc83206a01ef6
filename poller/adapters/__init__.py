"""One vendor a file or folder, one attempt a call; vendor types and exceptions stop here."""
