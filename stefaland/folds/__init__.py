"""Who is trained on and who is held out."""
