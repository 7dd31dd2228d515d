"""The same service in several processes, on one machine or many, under Ray Serve. Needs the extra `scale`."""
