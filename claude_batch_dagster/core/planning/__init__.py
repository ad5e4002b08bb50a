"""What a run is going to do, and what that costs: known before anything is sent."""
