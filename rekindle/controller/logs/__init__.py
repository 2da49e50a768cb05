"""What runners print: numbered, shown, stored (logbook.py), found again (logfilter, appnames).
Loses no number, and holds up no result.
"""
