"""What maps, scores and the page are made of."""
