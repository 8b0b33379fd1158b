"""When a task is due: intervals, cron expressions, time zones."""
