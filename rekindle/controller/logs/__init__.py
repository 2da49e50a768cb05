"""What runners print: numbered, stored, found again."""
