"""What plugin authors test with: contract kits, fakes and faults. Needs the extra `testing`."""
