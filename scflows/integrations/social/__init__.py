"""Posts of social media: collected from services, summarised into tables, edge lists and a page."""
