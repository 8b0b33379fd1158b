"""A stand-in for the Smart Citizen platform: devices, readings and files that are invented, on a port of its own.

`Platform` (platform) is what it knows, `serving` (server) puts it behind HTTP. It answers as the real platform and
its file host do, as far as scflows, `smartcitizen-connector` 1.5.9 and `scdata` 1.6.6 ask. Under `/control` it tells
what was asked of it and posted to it, and fails when told to. Everything is in memory and, for the same clock and
seed, the same each time.
"""
