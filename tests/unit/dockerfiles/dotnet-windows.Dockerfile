# escape=`
FROM mcr.microsoft.com/dotnet/sdk:9.0-nanoserver-ltsc2025 AS sdk
WORKDIR C:\src
COPY . .
RUN dotnet publish -c Release `
    -o C:\out
FROM mcr.microsoft.com/dotnet/runtime:9.0-nanoserver-ltsc2025
WORKDIR C:\app
COPY --from=sdk C:\out\ C:\app\
ENTRYPOINT ["C:\\app\\Tool.exe"]
