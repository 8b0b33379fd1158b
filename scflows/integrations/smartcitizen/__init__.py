"""The Smart Citizen platform as scflows asks it: HTTP and JSON, without pandas, `scdata` or the connector.

`access` says where it is and who asks, `client` asks and asks again, `device` is what it says of a device,
`hardware` reads the files of the file host, `decision` says which devices want a task, `search` finds devices.
"""
