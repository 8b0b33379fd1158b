"""One device of the Smart Citizen platform, worked on by `scdata` in a process of its own.

`harness` starts that process and hears what it says; `child` is what runs in it: with folders of its own (`place`),
files of the file host that all such processes share (`files`), one way out (`door`), and a voice (`voice`).
"""
