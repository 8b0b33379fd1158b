"""Readings of devices kept elsewhere, period by period, and brought back.

`store` is where they are kept: a folder or an S3 store. `period` cuts the time, `piece` is the readings of one period
as a Parquet file with its manifest, `device` backs one device up, `restore` brings a period back.

What a store holds of a device, below `devices/ID/`:

    state.json               up to when it is backed up
    device.json              what the platform says of it, without what is secret
    2026-03.json             the manifest of a period: which file, its checksum, rows by sensor
    2026-03.1f0c….parquet    the readings of that period; its name has the beginning of its checksum

Each is written whole, in this order: file, manifest, state. Whoever is killed in between leaves the manifest of before
with the file of before; the next run does the period again.
"""
