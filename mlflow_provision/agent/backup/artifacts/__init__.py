"""The artifacts folder in backups: what is new goes into packs that later backups share."""
