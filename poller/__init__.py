"""Gets logins and signups out of Auth0 and into Segment: nothing lost, nothing twice."""
