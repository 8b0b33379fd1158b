"""Process a device of the Smart Citizen platform with `scdata`, in a separate process.

`harness` starts the process and reads its output; `child` is its program, with private `folders`, `shared_files` of the
file host, an `http_gate` for all requests and a `log_stream`.
"""
