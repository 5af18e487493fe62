"""What a consumer achieves under some settings: measured in a process of its own, searched, and explained."""
