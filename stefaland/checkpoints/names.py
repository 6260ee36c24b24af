"""Names of the files of a checkpoint, for what lists or compares them without opening networks."""

WEIGHTS, CONFIG, DATA, CARD = "model.safetensors", "config.json", "data.json", "card.md"
