"""A mock of the Smart Citizen platform, with invented devices, readings and files, on its own port.

`Platform` (platform) holds the data, `serving` (server) serves it over HTTP. It behaves like the real platform and its
file host, as far as scflows, `smartcitizen-connector` 1.5.9 and `scdata` 1.6.6 need it. `/control` shows the requests
and posted data and injects faults. Everything is in memory and the same for the same clock and seed.
"""
