"""Whether devices publish as they should.

`thresholds` says from when on something is wrong, `examine` finds what is wrong with one device, `blueprint` which
sensors it should have, `ask` asks for many devices with few requests, `round` goes through them, and `memory` knows
what was wrong before, so that nothing is told twice.
"""
