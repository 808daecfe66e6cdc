"""Makes a public zone in Cloud DNS.

usage: zone.py ID DOMAIN   prints the zone as JSON
"""

import json
import os
import sys

from managed import google

if __name__ == "__main__":
    identity, domain = sys.argv[1:]
    zone = {"name": identity, "dnsName": domain, "description": "of a test", "visibility": "public"}
    made = google("dns", "v1").managedZones().create(project=os.environ["CLOUDSDK_CORE_PROJECT"], body=zone).execute()
    json.dump(made, sys.stdout)
