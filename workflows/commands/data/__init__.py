"""Commands on sources of data: catalogs listed, checked and shown, products found and fetched."""
