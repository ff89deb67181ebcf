FROM mcr.microsoft.com/dotnet/sdk:9.0 AS sdk
WORKDIR /s
COPY *.csproj ./
RUN dotnet restore
COPY . ./
RUN dotnet publish -c Release -o /out --no-restore

FROM mcr.microsoft.com/dotnet/aspnet:9.0-noble-chiseled
COPY --from=sdk /out /app
WORKDIR /app
ENV ASPNETCORE_URLS=http://+:8080
EXPOSE 8080/tcp
ENTRYPOINT ["dotnet", "Shop.dll"]
