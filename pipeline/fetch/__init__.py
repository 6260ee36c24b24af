"""Files of products from their providers: resumable, whole or not at all, checked."""
