"""What others write or name: texts and addresses that are checked before they are used."""
