"""What tests rest on and users never see."""
