"""Texts to pretrain on: sources, cleaning, near duplicates, the folder they are kept in."""
