"""Where tasks come from: flow files, the Smart Citizen platform."""
