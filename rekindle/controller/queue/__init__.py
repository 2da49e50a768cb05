"""Inputs from acceptance to result.

table.py says where each is, and alone moves it. Around it: intake.py accepts, stream_loader.py
loads, dispatcher.py assigns (placement.py decides to whom), result_intake.py takes results,
redelivery.py places again, finalizer.py ends, canceller.py cancels, completion.py stores. Then
results.py, retention.py, dead_letters.py: what is read later, and how long it is kept.
Nothing here looks into payloads or knows of pools.
"""
