"""python_dir.py PREFIX: where Python packages belong below the prefix."""
import sys
import sysconfig

debian = "deb_system" in sysconfig.get_scheme_names()
version = "python3" if debian and sys.argv[1] == "/usr" else f"python{sys.version_info[0]}.{sys.version_info[1]}"
print(f"lib/{version}/{'dist' if debian else 'site'}-packages")
