"""Backups of the readings of devices, by period.

`store` is a folder or an S3 store, `period` splits time into months or days, `piece` is the readings of one period as a
Parquet file with its manifest, `device` backs up a device, `restore` restores a period.

A store contains for each device, in `devices/ID/`:

    state.json               how far it is backed up
    device.json              its description, without secrets
    2026-03.json             the manifest of a period: file, checksum, rows by sensor
    2026-03.1f0c….parquet    the readings of the period; the name contains the beginning of the checksum

Each is written atomically, in this order: file, manifest, state. If a run is killed in between, the old manifest and
file stay valid and the next run repeats the period.
"""
