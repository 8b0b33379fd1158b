"""A client of the Smart Citizen platform: HTTP and JSON, without pandas, `scdata` or the connector.

`access` has addresses and token, `client` sends requests with retries, `device` parses devices, `hardware` checks the
files of the file host, `decision` chooses the devices that get a task, `search` finds devices.
"""
