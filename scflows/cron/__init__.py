"""Tasks and when they are due: schedules, their slots, the tabfile and the user's crontab."""
